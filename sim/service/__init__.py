"""Service models: how long a batch takes, one a file, all behind ``base.ServiceModel``."""
