"""From one model to the stages of a pipeline: capture, measure, cut, write, check."""
