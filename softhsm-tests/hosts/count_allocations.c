/* A library to preload: counts how often a process allocates memory, whoever asks. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_ullong count;

uint64_t bench_allocations(void)
{
    return atomic_load(&count);
}

static void one(void)
{
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
    one();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    one();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    one();
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
    one();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    one();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **place, size_t alignment, size_t size)
{
    one();
    *place = __libc_memalign(alignment, size);
    return *place == NULL ? ENOMEM : 0;
}
