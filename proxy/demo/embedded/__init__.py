"""The embedded model: its weights are downloaded and checked, and llama.cpp's server answers with them."""
