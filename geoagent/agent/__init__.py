"""The consistency agent: a language model, its server, and the client that rewards use."""
