// Preloaded by `cargo xtask bench --flush MICROSECONDS`: makes no flush shorter than that, as on a disk that has to write.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int slowly(const char *name, int fd)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const char *micros = getenv("ARKLOW_BENCH_FLUSH");
    long nanos = until.tv_nsec + (micros ? atol(micros) : 0) * 1000;
    until.tv_sec += nanos / 1000000000;
    until.tv_nsec = nanos % 1000000000;

    int (*flush)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = flush(fd);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        ;
    return result;
}

int fsync(int fd) { return slowly("fsync", fd); }

int fdatasync(int fd) { return slowly("fdatasync", fd); }
