"""The rooms that import torch: the network that learns, its distributions, its optimiser, and the device."""
