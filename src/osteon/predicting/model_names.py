"""What a model's files are called, and how a model of a hub is named."""

WEIGHTS, VALIDATION = "weights.safetensors", "validation.json"
FIRST = "first"
"""In a model's folder that of the model which looks first (a cascade)."""
HUB = "hf:"
"""How the name of a model of Hugging Face's hub begins."""
