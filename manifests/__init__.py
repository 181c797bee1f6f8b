"""What was made, and whether it can be trusted. Imports neither Ray nor the pipelines nor the generators."""
