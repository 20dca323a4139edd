"""Ways of serving one pipeline, each made of its configuration, to be compared with one another."""
