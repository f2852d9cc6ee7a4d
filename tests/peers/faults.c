/* Preloaded into a node by the tests: syncs that fail as of a broken device, and a wall clock that jumps.
 *
 * $PINLEAF_FAULTS names a file of 4,096 bytes, mapped here and written by the test:
 *
 *   at byte   type     what
 *         0   int64    ns that CLOCK_REALTIME is ahead
 *         8   uint32   1: fdatasync and fsync of the segments below the folder fail with EIO
 *        12   uint32   how many did so
 *        16   char[]   the folder, ended by a zero
 *
 * The monotonic clock is the machine's. Writes are not touched: the node makes them without libc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL

struct control {
    volatile int64_t clock_ahead_ns;
    volatile uint32_t sync_fails;
    volatile uint32_t syncs_failed;
    volatile char folder[4080];
};

static struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PINLEAF_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    control = map == MAP_FAILED ? NULL : map;
    close(fd);
}

static int fails(int fd) {
    char link[64], path[PATH_MAX];
    if (!control || !control->sync_fails) {
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) {
        return 0;
    }
    path[length] = 0;
    const char *folder = (const char *)control->folder;
    const char *end = strrchr(path, '.');
    if (strncmp(path, folder, strlen(folder)) || !end || strcmp(end, ".arrow")) {
        return 0;
    }
    __sync_fetch_and_add(&control->syncs_failed, 1);
    errno = EIO;
    return 1;
}

int fdatasync(int fd) { return fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd); }

int fsync(int fd) { return fails(fd) ? -1 : (int)syscall(SYS_fsync, fd); }

int clock_gettime(clockid_t clock, struct timespec *at) {
    int done = (int)syscall(SYS_clock_gettime, clock, at);
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (done == 0 && wall && control && control->clock_ahead_ns) {
        int64_t ns = at->tv_sec * NS + at->tv_nsec + control->clock_ahead_ns;
        at->tv_sec = ns / NS;
        at->tv_nsec = ns % NS;
    }
    return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) {
        *at = now.tv_sec;
    }
    return now.tv_sec;
}
