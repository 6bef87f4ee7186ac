"""Durable tasks, and the pool of workers that runs them."""
