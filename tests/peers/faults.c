/* Preloaded into a node by the tests: syncs, writes, opens and renames that fail as of a broken device, and a
 * wall clock that jumps.
 *
 * $PINLEAF_FAULTS names a file of 4,096 bytes, mapped here and written by the test:
 *
 *   at byte   type     what
 *         0   int64    ns that CLOCK_REALTIME is ahead
 *         8   uint32   1: fdatasync and fsync of the segments below the folder fail with EIO
 *        12   uint32   how many did so
 *        16   uint32   writes of the segments below the folder: 1 fail with EIO; 2 the same, when half of the
 *                      bytes are in the file; 3 write half and say so
 *        20   uint32   how many did so
 *        24   uint32   1: opening a segment below the folder fails with EIO
 *        28   uint32   how many did so
 *        32   uint32   1: renaming a segment below the folder, to it or from it, fails with EIO
 *        36   uint32   how many did so
 *        40   char[]   the folder, ended by a zero
 *
 * The monotonic clock is the machine's. The node writes segments with a system call of its own, past libc: a
 * seccomp filter has the kernel bring pwritev here as a signal, and what is to be written is, by pwritev2.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define NS 1000000000LL

enum { WRITES_WORK, WRITES_FAIL, WRITES_FAIL_HALF_DONE, WRITES_ARE_SHORT };

struct control {
    volatile int64_t clock_ahead_ns;
    volatile uint32_t sync_fails;
    volatile uint32_t syncs_failed;
    volatile uint32_t write_fails;
    volatile uint32_t writes_failed;
    volatile uint32_t open_fails;
    volatile uint32_t opens_failed;
    volatile uint32_t rename_fails;
    volatile uint32_t renames_failed;
    volatile char folder[4056];
};

static struct control *control;

static void trap_writes(void);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PINLEAF_FAULTS");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) {
        control = map;
        trap_writes();
    }
}

static int is_segment(const char *path) {
    const char *folder = (const char *)control->folder;
    const char *end = strrchr(path, '.');
    return !strncmp(path, folder, strlen(folder)) && end && !strcmp(end, ".arrow");
}

static int is_open_segment(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) {
        return 0;
    }
    path[length] = 0;
    return is_segment(path);
}

static int counted(volatile uint32_t *count) {
    __sync_fetch_and_add(count, 1);
    errno = EIO;
    return 1;
}

static int fails(int fd) {
    return control && control->sync_fails && is_open_segment(fd) && counted(&control->syncs_failed);
}

int fdatasync(int fd) { return fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd); }

int fsync(int fd) { return fails(fd) ? -1 : (int)syscall(SYS_fsync, fd); }

static int opened(const char *path, int flags, mode_t mode) {
    if (control && control->open_fails && is_segment(path)) {
        counted(&control->opens_failed);
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode);
}

int rename(const char *from, const char *to) {
    if (control && control->rename_fails && (is_segment(from) || is_segment(to))) {
        counted(&control->renames_failed);
        return -1;
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* The first half of the bytes. */
static long write_half(int fd, const struct iovec *given, int count, long low, long high) {
    struct iovec kept[IOV_MAX];
    size_t left = 0;
    for (int at = 0; at < count; at++) {
        left += given[at].iov_len;
    }
    left = left > 1 ? left / 2 : left;
    int used = 0;
    while (left > 0 && used < count && used < IOV_MAX) {
        kept[used] = given[used];
        if (kept[used].iov_len > left) {
            kept[used].iov_len = left;
        }
        left -= kept[used].iov_len;
        used++;
    }
    return syscall(SYS_pwritev2, fd, kept, used, low, high, 0);
}

/* What the system call answers: bytes, or an error's number below zero. */
static long written(int fd, const struct iovec *given, int count, long low, long high) {
    uint32_t how = control->write_fails;
    long done;
    if (how == WRITES_WORK || !is_open_segment(fd)) {
        done = syscall(SYS_pwritev2, fd, given, count, low, high, 0);
    } else {
        __sync_fetch_and_add(&control->writes_failed, 1);
        done = how == WRITES_FAIL ? 0 : write_half(fd, given, count, low, high);
        if (how != WRITES_ARE_SHORT) {
            return -EIO;
        }
    }
    return done < 0 ? -errno : done;
}

static void trapped(int number, siginfo_t *info, void *context) {
    int saved = errno;
    (void)number;
    (void)info;
#if defined(__x86_64__)
    greg_t *of = ((ucontext_t *)context)->uc_mcontext.gregs;
    of[REG_RAX] = written((int)of[REG_RDI], (const struct iovec *)of[REG_RSI], (int)of[REG_RDX], of[REG_R10],
                          of[REG_R8]);
#elif defined(__aarch64__)
    unsigned long long *of = ((ucontext_t *)context)->uc_mcontext.regs;
    of[0] = (unsigned long long)written((int)of[0], (const struct iovec *)of[1], (int)of[2], (long)of[3],
                                        (long)of[4]);
#else
#error "where this machine keeps a system call's arguments is not known here"
#endif
    errno = saved;
}

static void trap_writes(void) {
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("faults: writes cannot be made to fail");
        abort();
    }
}

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
