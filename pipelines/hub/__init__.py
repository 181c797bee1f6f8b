"""Noised sets on the Hugging Face Hub: pushed, pulled, and made again from their manifests."""
