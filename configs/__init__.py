"""The configuration: what a pipeline, a workload, a policy and an objective are."""
