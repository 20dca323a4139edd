"""Virtual time: arrivals, service models, and the SimPy driver."""
