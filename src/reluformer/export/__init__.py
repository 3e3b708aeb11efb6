"""A trained model that can leave: a folder with all that translating with it takes."""
