// Preloaded into a server by `cargo xtask soak`: its wall clock is ahead by as many seconds as the file
// ARKLOW_CLOCK_OFFSET says, which is read about ten times a second.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long offset, next_look;

static long looked_up(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long tenths = now.tv_sec * 10 + now.tv_nsec / 100000000, due = next_look;
    if (tenths >= due && atomic_compare_exchange_strong(&next_look, &due, tenths + 1)) {
        const char *path = getenv("ARKLOW_CLOCK_OFFSET");
        char text[32] = { 0 };
        int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd >= 0) {
            if (syscall(SYS_read, fd, text, sizeof text - 1) > 0)
                offset = atol(text);
            syscall(SYS_close, fd);
        }
    }
    return offset;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += looked_up();
    return result;
}
