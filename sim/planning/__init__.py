"""Planning: how many replicas of which stage, on which device, with which holds, for how much traffic."""
