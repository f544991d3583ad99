// Preloaded into a server by the tests of power cuts and failing disks. Watches the files of one folder whose names are
// those of the database and of its WAL.
//
// ARKLOW_DISK_FOLDER  the folder
// ARKLOW_DISK_LOG     gets a record of each open, write, truncation, removal and sync, in order
// ARKLOW_DISK_NO_SYNC syncs do nothing and are not recorded
// ARKLOW_DISK_FAULT   "CALL FILE N ERRNO": call N (from 1) fails; CALL is open, write or sync, FILE is db or wal.
//                     ERRNO 0 has a sync take five seconds, and ERRNO -1 has every open from call N on fail with EMFILE
//                     as long as the file "full" is in the folder.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN = 1, WRITE, TRUNCATE, UNLINK, SYNC_BEGIN, SYNC_END };
enum file { OTHER, DB, WAL, FOLDER };

// What a record begins with; then its data, for a write.
struct record {
    uint32_t kind, file, thread, length;
    uint64_t inode, offset;
};

static const char *folder;
static size_t folder_length;
static int log_fd = -1;
static int no_sync;
static char fault_call[8], fault_file[8];
static int fault_n, fault_errno;
static atomic_int calls;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void)
{
    folder = getenv("ARKLOW_DISK_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    no_sync = getenv("ARKLOW_DISK_NO_SYNC") != NULL;
    const char *fault = getenv("ARKLOW_DISK_FAULT");
    if (fault && sscanf(fault, "%7s %7s %d %d", fault_call, fault_file, &fault_n, &fault_errno) != 4)
        fault_call[0] = 0;
    const char *log = getenv("ARKLOW_DISK_LOG");
    if (log)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    // Where there are few descriptors, a low number is in the way of nobody.
    if (log_fd >= 0) {
        int high = fcntl(log_fd, F_DUPFD_CLOEXEC, 500);
        if (high >= 0)
            log_fd = high;
    }
}

static enum file which(const char *path)
{
    if (!folder || strncmp(path, folder, folder_length) != 0)
        return OTHER;
    path += folder_length;
    if (*path == 0)
        return FOLDER;
    if (strcmp(path, "/arklow.db") == 0)
        return DB;
    if (strcmp(path, "/arklow.db-wal") == 0)
        return WAL;
    return OTHER;
}

static enum file of(int fd)
{
    if (!folder)
        return OTHER;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return OTHER;
    path[length] = 0;
    char *deleted = strstr(path, " (deleted)");
    if (deleted)
        *deleted = 0;
    return which(path);
}

static void record(enum kind kind, enum file file, int fd, uint64_t offset, const void *data, uint32_t length)
{
    if (log_fd < 0)
        return;
    int before = errno;
    struct stat found = { 0 };
    if (fd >= 0)
        fstat(fd, &found);
    struct record head = { kind, file, (uint32_t)syscall(SYS_gettid), length, found.st_ino, offset };
    struct iovec parts[2] = { { &head, sizeof head }, { (void *)data, data ? length : 0 } };
    // One call, so that the records of several processes have one order.
    if (syscall(SYS_writev, log_fd, parts, 2) < 0)
        abort();
    errno = before;
}

static int fails(const char *call, enum file file)
{
    if (strcmp(fault_call, call) != 0 || strcmp(fault_file, file == DB ? "db" : "wal") != 0)
        return 0;
    int n = ++calls;
    if (fault_errno == -1) {
        char full[PATH_MAX];
        snprintf(full, sizeof full, "%s/full", folder);
        struct stat found;
        if (syscall(SYS_newfstatat, AT_FDCWD, full, &found, 0) != 0)
            return 0;
        errno = EMFILE;
        return 1;
    }
    if (n != fault_n)
        return 0;
    fprintf(stderr, "disk: fault at %s %s %d\n", fault_call, fault_file, fault_n);
    if (fault_errno == 0) {
        struct timespec five = { 5, 0 };
        nanosleep(&five, NULL);
        return 0;
    }
    errno = fault_errno;
    return 1;
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    enum file file = which(path);
    if ((file == DB || file == WAL) && fails("open", file))
        return -1;
    int fd = real(path, flags, mode);
    if (fd >= 0 && (file == DB || file == WAL))
        record(OPEN, file, fd, 0, NULL, 0);
    return fd;
}

#define OPEN_WITH(name)                                  \
    int name(const char *path, int flags, ...)           \
    {                                                    \
        va_list list;                                    \
        va_start(list, flags);                           \
        mode_t mode = va_arg(list, mode_t);              \
        va_end(list);                                    \
        return opened(REAL(name), path, flags, mode);    \
    }
OPEN_WITH(open)
OPEN_WITH(open64)

static int is_watched(enum file file) { return file == DB || file == WAL; }

ssize_t write(int fd, const void *data, size_t length)
{
    enum file file = fd == log_fd ? OTHER : of(fd);
    if (is_watched(file) && fails("write", file))
        return -1;
    off_t offset = is_watched(file) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = REAL(write)(fd, data, length);
    if (is_watched(file) && done > 0)
        record(WRITE, file, fd, (uint64_t)offset, data, (uint32_t)done);
    return done;
}

#define PWRITE(name, type)                                                        \
    ssize_t name(int fd, const void *data, size_t length, type offset)            \
    {                                                                             \
        enum file file = of(fd);                                                  \
        if (is_watched(file) && fails("write", file))                             \
            return -1;                                                            \
        ssize_t done = REAL(name)(fd, data, length, offset);                      \
        if (is_watched(file) && done > 0)                                         \
            record(WRITE, file, fd, (uint64_t)offset, data, (uint32_t)done);      \
        return done;                                                              \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE_WITH(name, type)                              \
    int name(int fd, type length)                              \
    {                                                          \
        int done = REAL(name)(fd, length);                     \
        enum file file = of(fd);                               \
        if (done == 0 && is_watched(file))                     \
            record(TRUNCATE, file, fd, (uint64_t)length, NULL, 0); \
        return done;                                           \
    }
TRUNCATE_WITH(ftruncate, off_t)
TRUNCATE_WITH(ftruncate64, off64_t)

int unlink(const char *path)
{
    enum file file = which(path);
    int done = REAL(unlink)(path);
    if (done == 0 && is_watched(file))
        record(UNLINK, file, -1, 0, NULL, 0);
    return done;
}

static int synced(int (*real)(int), int fd)
{
    enum file file = of(fd);
    if (file == OTHER)
        return real(fd);
    if (no_sync)
        return 0;
    record(SYNC_BEGIN, file, fd, 0, NULL, 0);
    int done = is_watched(file) && fails("sync", file) ? -1 : real(fd);
    record(SYNC_END, file, fd, (uint64_t)(done == 0), NULL, 0);
    return done;
}

int fsync(int fd) { return synced(REAL(fsync), fd); }
int fdatasync(int fd) { return synced(REAL(fdatasync), fd); }
