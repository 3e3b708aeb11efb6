// Calls a kernel of a library with arguments from a file and writes its memory back; see test_instruction_sets.py.
#include <cstdint>
#include <cstdio>
#include <dlfcn.h>
#include <vector>

int main(int, char** argv) {  // library, function, file
  void* library = dlopen(argv[1], RTLD_NOW);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
  auto kernel = (void (*)(const int64_t*, uint32_t, uint32_t, float, float))dlsym(library, argv[2]);
  FILE* file = fopen(argv[3], "r+b");
  if (!kernel || !file) return 2;
  int64_t head[3];  // numbers, regions, pointers
  uint32_t words[2];
  float floats[2];
  bool read = fread(head, 8, 3, file) == 3 && fread(words, 4, 2, file) == 2 && fread(floats, 4, 2, file) == 2;
  std::vector<int64_t> numbers(head[0]), sizes(head[1]), pointers(3 * head[2]);  // index, region, offset
  for (auto* part : {&numbers, &sizes, &pointers}) read &= fread(part->data(), 8, part->size(), file) == part->size();
  const long start = ftell(file);
  std::vector<std::vector<char>> regions;
  for (int64_t size : sizes) {
    regions.emplace_back(size);
    read &= fread(regions.back().data(), 1, size, file) == (size_t)size;
  }
  if (!read) return 3;
  for (size_t i = 0; i < pointers.size(); i += 3)
    numbers[pointers[i]] = (int64_t)(regions[pointers[i + 1]].data() + pointers[i + 2]);
  kernel(numbers.data(), words[0], words[1], floats[0], floats[1]);
  fseek(file, start, SEEK_SET);
  for (auto& region : regions) fwrite(region.data(), 1, region.size(), file);
  return fclose(file);
}
