/* Gives every thread of a program a stack of a gibibyte (of addresses; memory is used as it is touched).
 *
 * The TPU compiler of libtpu 0.0.42.1 recurs along the instructions of a program in a thread whose stack is too small for VG-net's step
 * on v6e, and crashes. With this it does not:
 *
 *   gcc -shared -fPIC -o deep_stacks.so atvg_jax/tools/deep_stacks.c -ldl
 *   LD_PRELOAD=./deep_stacks.so atvg plan --config=configs/vg_grid.py --topology=v6e:2x2 --clips=8
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size) {
  int (*set)(pthread_attr_t *, size_t) = dlsym(RTLD_NEXT, "pthread_attr_setstacksize");
  const size_t least = (size_t)1 << 30;
  return set(attributes, size < least ? least : size);
}
