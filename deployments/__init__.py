"""What is served: replicas, the gateway, and the command line that starts them."""
