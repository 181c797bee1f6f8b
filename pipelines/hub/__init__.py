"""Noised sets on the Hugging Face Hub: pushed, pulled, and rebuilt from their manifests."""
