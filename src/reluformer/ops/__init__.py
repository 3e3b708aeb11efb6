"""What is not the subject: packed linear maps, dropout, cross entropy, beam kernels, the C++ compiler, processes."""
