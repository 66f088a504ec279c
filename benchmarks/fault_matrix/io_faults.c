/* Fails a chosen I/O call on files below a folder, in every process that preloads this library.
 *
 * IO_FAULTS_PLAN names a file of `struct plan`, which all processes map and share. Opening for
 * writing, write, fsync and rename below `prefix` count. The call that takes `countdown` from 1 to
 * 0 fails with `error`; if `stays` is set, so do all later ones, until somebody raises `countdown`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

struct plan {
    int64_t countdown, calls;
    int32_t error, stays;
    char prefix[1000];
};

static struct plan *plan;
static char watched[1 << 16]; /* by file descriptor */

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("IO_FAULTS_PLAN");
    int fd = path ? NEXT(open)(path, O_RDWR) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEXT(close)(fd);
    if (map != MAP_FAILED) plan = map;
}

static int below(const char *path) {
    char here[4096];
    if (!plan || !path) return 0;
    if (path[0] != '/') { /* Python's shutil works relative to a folder's descriptor */
        size_t size = getcwd(here, sizeof here) ? strlen(here) : 0;
        return size && !strncmp(here, plan->prefix, strlen(plan->prefix));
    }
    return !strncmp(path, plan->prefix, strlen(plan->prefix));
}

static int fails(void) {
    __atomic_add_fetch(&plan->calls, 1, __ATOMIC_SEQ_CST);
    int64_t left = __atomic_sub_fetch(&plan->countdown, 1, __ATOMIC_SEQ_CST);
    if (left != 0 && !(left < 0 && plan->stays)) return 0;
    errno = plan->error;
    return 1;
}

static int watch(int fd, const char *path) {
    if (fd >= 0 && fd < (int)sizeof watched) watched[fd] = below(path);
    return fd;
}

static int is_watched(int fd) {
    return plan && fd >= 0 && fd < (int)sizeof watched && watched[fd];
}

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...) {                                      \
        va_list more;                                                                 \
        va_start(more, flags);                                                        \
        mode_t mode = va_arg(more, mode_t);                                           \
        va_end(more);                                                                 \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(path) && fails()) return -1; \
        return watch(NEXT(name)(path, flags, mode), path);                            \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                  \
    int name(int at, const char *path, int flags, ...) {                              \
        va_list more;                                                                 \
        va_start(more, flags);                                                        \
        mode_t mode = va_arg(more, mode_t);                                           \
        va_end(more);                                                                 \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(path) && fails()) return -1; \
        return watch(NEXT(name)(at, path, flags, mode), path);                        \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (fd >= 0 && fd < (int)sizeof watched) watched[fd] = 0;
    return NEXT(close)(fd);
}

#define ON_FD(type, name, parameters, arguments)           \
    type name parameters {                                 \
        if (is_watched(fd) && fails()) return -1;          \
        return NEXT(name) arguments;                       \
    }
ON_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, writev, (int fd, const struct iovec *parts, int number), (fd, parts, number))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))

int rename(const char *from, const char *to) {
    return below(to) && fails() ? -1 : NEXT(rename)(from, to);
}
