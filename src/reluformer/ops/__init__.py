"""Low-level operations: packed linear layers, dropout, cross-entropy, beam kernels, the C++ build, processes."""
