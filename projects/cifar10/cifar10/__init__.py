"""What language weights are worth on real CIFAR-10."""
