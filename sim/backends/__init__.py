"""Where many simulations run: on threads, on processes, on a cluster. One backend a file."""
