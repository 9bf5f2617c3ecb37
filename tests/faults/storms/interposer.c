/* Counts the calls of a process, all threads together, that change files below STORM_ROOT, and strikes at one of them.

   STORM_ROOT   absolute path of a directory
   STORM_LOG    where calls are logged, outside of STORM_ROOT
   STORM_AT     number of the call that is struck (from 1); 0 strikes none
   STORM_ON     1: every call from that one on is struck
   STORM_DO     kill, cut (power off below STORM_ROOT, then kill), or the number of an errno

   A struck call does not happen. Log lines: `call N name path`, `fault N name path nanoseconds` (monotonic), and
   `synced path size nanoseconds` once a sync has returned. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXT4_IOC_SHUTDOWN 0x8004587DUL
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long calls;
static char root[PATH_MAX];
static long at;
static int on, killing, cutting, code, journal = -1;

__attribute__((constructor)) static void arm(void) {
    const char *where = getenv("STORM_ROOT"), *log = getenv("STORM_LOG"), *what = getenv("STORM_DO");
    unsetenv("LD_PRELOAD");
    if (!where || !log) return;
    snprintf(root, sizeof root, "%s", where);
    at = atol(getenv("STORM_AT") ? getenv("STORM_AT") : "0");
    on = getenv("STORM_ON") && *getenv("STORM_ON") == '1';
    cutting = what && !strcmp(what, "cut");
    killing = cutting || !what || !strcmp(what, "kill");
    code = killing ? 0 : atoi(what);
    journal = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int below(const char *path) {
    size_t length = strlen(root);
    return length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static void note(const char *format, ...) {
    char line[PATH_MAX + 100];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    syscall(SYS_write, journal, line, length);
}

static long long nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void end(void) {
    if (cutting) {
        unsigned no_log_flush = 2;
        int directory = syscall(SYS_openat, AT_FDCWD, root, O_RDONLY | O_DIRECTORY, 0);
        ioctl(directory, EXT4_IOC_SHUTDOWN, &no_log_flush);
    }
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static int struck(const char *name, const char *path) {
    long number = ++calls;
    note("call %ld %s %s\n", number, name, path);
    if (!at || (on ? number < at : number != at)) return 0;
    note("fault %ld %s %s %lld\n", number, name, path, nanoseconds());
    if (killing) end();
    errno = code;
    return 1;
}

static int of_file(int file, char *path) {
    char link[40];
    if (!*root) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int of_name(int directory, const char *name, char *path) {
    char base[PATH_MAX] = "";
    if (!*root || !name) return 0;
    if (*name == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        const char *folder = "/proc/self/cwd";
        char link[40];
        if (directory != AT_FDCWD) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            folder = link;
        }
        ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, folder, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
        if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
    }
    return below(path);
}

#define OF_FILE(name, file) do { \
    int saved = errno; \
    char path[PATH_MAX]; \
    if (of_file(file, path) && struck(name, path)) return -1; \
    errno = saved; \
} while (0)
#define OF_NAME(name, directory, given) do { \
    int saved = errno; \
    char path[PATH_MAX]; \
    if (of_name(directory, given, path) && struck(name, path)) return -1; \
    errno = saved; \
} while (0)

ssize_t write(int f, const void *b, size_t n) { OF_FILE("write", f); return REAL(write)(f, b, n); }
ssize_t pwrite(int f, const void *b, size_t n, off_t o) { OF_FILE("pwrite", f); return REAL(pwrite)(f, b, n, o); }
ssize_t pwrite64(int f, const void *b, size_t n, off64_t o) { OF_FILE("pwrite", f); return REAL(pwrite64)(f, b, n, o); }
int ftruncate(int f, off_t n) { OF_FILE("ftruncate", f); return REAL(ftruncate)(f, n); }
int ftruncate64(int f, off64_t n) { OF_FILE("ftruncate", f); return REAL(ftruncate64)(f, n); }
ssize_t sendfile(int f, int i, off_t *o, size_t n) { OF_FILE("sendfile", f); return syscall(SYS_sendfile, f, i, o, n); }
ssize_t sendfile64(int f, int i, off64_t *o, size_t n) { OF_FILE("sendfile", f); return syscall(SYS_sendfile, f, i, o, n); }
ssize_t copy_file_range(int i, off64_t *a, int f, off64_t *o, size_t n, unsigned g) {
    OF_FILE("copy_file_range", f);
    return syscall(SYS_copy_file_range, i, a, f, o, n, g);
}

static void note_synced(int file) {
    int saved = errno;
    char path[PATH_MAX];
    struct stat seen;
    if (of_file(file, path) && !fstat(file, &seen) && S_ISREG(seen.st_mode))
        note("synced %s %lld %lld\n", path, (long long)seen.st_size, nanoseconds());
    errno = saved;
}

int fsync(int f) {
    OF_FILE("fsync", f);
    int failed = REAL(fsync)(f);
    if (!failed) note_synced(f);
    return failed;
}
int fdatasync(int f) {
    OF_FILE("fdatasync", f);
    int failed = REAL(fdatasync)(f);
    if (!failed) note_synced(f);
    return failed;
}

int rename(const char *a, const char *b) { OF_NAME("rename", AT_FDCWD, b); return REAL(rename)(a, b); }
int renameat(int d, const char *a, int e, const char *b) { OF_NAME("rename", e, b); return REAL(renameat)(d, a, e, b); }
int renameat2(int d, const char *a, int e, const char *b, unsigned g) {
    OF_NAME("renameat2", e, b);
    return REAL(renameat2)(d, a, e, b, g);
}
int link(const char *a, const char *b) { OF_NAME("link", AT_FDCWD, b); return REAL(link)(a, b); }
int linkat(int d, const char *a, int e, const char *b, int g) { OF_NAME("link", e, b); return REAL(linkat)(d, a, e, b, g); }
int unlink(const char *a) { OF_NAME("unlink", AT_FDCWD, a); return REAL(unlink)(a); }
int unlinkat(int d, const char *a, int g) { OF_NAME("unlink", d, a); return REAL(unlinkat)(d, a, g); }
int mkdir(const char *a, mode_t m) { OF_NAME("mkdir", AT_FDCWD, a); return REAL(mkdir)(a, m); }

#define CREATES(flags) (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE)
#define OPEN(directory, given) \
    mode_t mode = 0; \
    if (CREATES(flags)) { \
        va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); \
        OF_NAME("open", directory, given); \
    } \
    return syscall(SYS_openat, directory, given, flags, mode)

int open(const char *name, int flags, ...) { OPEN(AT_FDCWD, name); }
int open64(const char *name, int flags, ...) { OPEN(AT_FDCWD, name); }
int openat(int directory, const char *name, int flags, ...) { OPEN(directory, name); }
int openat64(int directory, const char *name, int flags, ...) { OPEN(directory, name); }
