"""Request sizes: one distribution a file, all behind ``base.Items``."""
