// libmartlet-faults: makes calls of a process fail, kills it at one, or moves its wall clock.
//
// Loaded with LD_PRELOAD. FAULTS_PLAN names a file with one `struct plan`, which stays mapped:
// what the test writes there is in force at once.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct plan {
    char call[16];         // read, write, sync, rename, truncate; empty: none
    char path[64];         // only files whose path contains it
    int64_t error;         // errno of the failing call; -1: the process is killed before the call
    int64_t skip;          // so many calls go well first
    int64_t once;          // 1: the calls after it go well again
    int64_t clock_seconds; // added to the wall clock
    atomic_llong seen;     // calls that matched, counted here for the test to read
};

static struct plan *plan;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_PLAN");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) plan = map;
    close(fd);
}

static int fails(const char *call, const char *path) {
    if (strncmp(plan->call, call, sizeof plan->call) != 0 || strstr(path, plan->path) == NULL)
        return 0;
    long long number = atomic_fetch_add(&plan->seen, 1);
    if (number < plan->skip || (plan->once && number > plan->skip)) return 0;
    if (plan->error < 0) kill(getpid(), SIGKILL);
    errno = (int)plan->error;
    return 1;
}

static int fails_on(const char *call, int fd) {
    if (plan == NULL || plan->call[0] == 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t count = readlink(link, path, sizeof path - 1);
    path[count < 0 ? 0 : count] = 0;
    return fails(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    return fails_on("read", fd) ? -1 : REAL(pread)(fd, bytes, count, at);
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    return fails_on("read", fd) ? -1 : REAL(preadv2)(fd, parts, count, at, flags);
}

ssize_t sendfile(int to, int from, off_t *at, size_t count) {
    return fails_on("read", from) ? -1 : REAL(sendfile)(to, from, at, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return fails_on("write", fd) ? -1 : REAL(pwrite)(fd, bytes, count, at);
}

int fdatasync(int fd) { return fails_on("sync", fd) ? -1 : REAL(fdatasync)(fd); }
int fsync(int fd) { return fails_on("sync", fd) ? -1 : REAL(fsync)(fd); }
int syncfs(int fd) { return fails_on("sync", fd) ? -1 : REAL(syncfs)(fd); }
int sync_file_range(int fd, off_t at, off_t count, unsigned flags) {
    return fails_on("sync", fd) ? -1 : REAL(sync_file_range)(fd, at, count, flags);
}
int ftruncate(int fd, off_t size) {
    return fails_on("truncate", fd) ? -1 : REAL(ftruncate)(fd, size);
}

int rename(const char *from, const char *to) {
    if (plan != NULL && plan->call[0] != 0 && fails("rename", to)) return -1;
    return REAL(rename)(from, to);
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = REAL(clock_gettime)(id, time);
    if (result == 0 && id == CLOCK_REALTIME && plan != NULL) time->tv_sec += plan->clock_seconds;
    return result;
}
