"""`python -m deployments.cli`, which is what ./rubato runs."""

from .app import main

main()
