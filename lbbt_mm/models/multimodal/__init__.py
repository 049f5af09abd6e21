"""LLaVA: images and conversations into a causal language model, answers out."""
