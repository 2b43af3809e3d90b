"""Published architectures and Hugging Face configs, as models on the meta device."""
