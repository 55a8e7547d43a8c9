/* A library to preload: counts how often each place in the code of a process allocates memory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

/* Places that have allocated, and how often. The last entry takes what finds no other. */
#define PLACES 256
static struct {
    _Atomic(void *) caller;
    atomic_ullong count;
} places[PLACES];

static void one(void *caller)
{
    size_t at;

    for (at = 0; at < PLACES - 1; at++) {
        void *known = NULL;

        if (atomic_compare_exchange_strong(&places[at].caller, &known, caller) || known == caller)
            break;
    }
    atomic_fetch_add_explicit(&places[at].count, 1, memory_order_relaxed);
}

/* Forgets what was counted, but not the places. */
void bench_allocations_begin(void)
{
    size_t at;

    for (at = 0; at < PLACES; at++)
        atomic_store(&places[at].count, 0);
}

/* How often place number `at` has allocated, and where it is in its file: the same in each process. UINT64_MAX if there is no
   such place. */
uint64_t bench_allocations_at(size_t at, uint64_t *offset)
{
    Dl_info file;
    char *caller;

    if (at >= PLACES)
        return UINT64_MAX;
    caller = atomic_load(&places[at].caller);
    *offset = 0;
    if (caller != NULL && dladdr(caller, &file) != 0)
        *offset = (uint64_t)(caller - (char *)file.dli_fbase);
    return atomic_load(&places[at].count);
}

void *malloc(size_t size)
{
    one(__builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    one(__builtin_return_address(0));
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    one(__builtin_return_address(0));
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
    one(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    one(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **place, size_t alignment, size_t size)
{
    one(__builtin_return_address(0));
    *place = __libc_memalign(alignment, size);
    return *place == NULL ? ENOMEM : 0;
}
