"""CPU kernels that are not the subject: packed linear maps, dropout, cross entropy, the C++ compiler."""
