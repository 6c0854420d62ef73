#include "martlet_syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

ssize_t martlet_preadv2_nowait(int fd, void *buffer, size_t count, int64_t offset) {
    struct iovec piece = {buffer, count};
    return preadv2(fd, &piece, 1, offset, RWF_NOWAIT);
}

void martlet_exact_timers(void) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

int martlet_syncfs(int fd) { return syncfs(fd); }

int martlet_write_errors(int fd) {
    // Of one page only, so that it does not wait for what is written meanwhile; the errors told
    // are those of the whole file.
    return sync_file_range(fd, 0, 1, SYNC_FILE_RANGE_WAIT_BEFORE);
}

int martlet_accept4(int fd, void *address, uint32_t *length, int flags) {
    return accept4(fd, (struct sockaddr *)address, length, flags);
}

int martlet_fcntl_int(int fd, int command, int argument) { return fcntl(fd, command, argument); }

int martlet_getrandom(void *buffer, size_t length) {
    unsigned char *p = buffer;
    while (length > 0) {
        ssize_t n = getrandom(p, length, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        p += n;
        length -= (size_t)n;
    }
    return 0;
}

int martlet_terminal_width(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_col;
}

int martlet_terminal_height(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_row;
}

char *const *martlet_environment(void) { return environ; }

void *martlet_allocate(size_t alignment, size_t size) {
    void *memory = NULL;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

void martlet_free(void *memory) { free(memory); }

void martlet_give_back_early(void) {
    // The defaults, or near; but said once, they no longer grow with the blocks that are freed.
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

void martlet_save_addresses(size_t stack_bytes) {
    (void)mallopt(M_ARENA_MAX, 1);
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    (void)pthread_attr_setstacksize(&attributes, stack_bytes);
    (void)pthread_setattr_default_np(&attributes);
    (void)pthread_attr_destroy(&attributes);
}

void martlet_semaphore_wait(sem_t *semaphore, int64_t nanoseconds) {
    if (nanoseconds == INT64_MAX) {
        (void)sem_wait(semaphore);
        return;
    }
    struct timespec end = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    (void)sem_clockwait(semaphore, CLOCK_MONOTONIC, &end);
}

int martlet_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

int martlet_ppoll(void *entries, size_t count, int64_t nanoseconds) {
    struct timespec wait = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    return ppoll(entries, count, nanoseconds < 0 ? NULL : &wait, NULL);
}

int martlet_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int epoll_set(int epoll, int operation, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {0};
    if (events & MARTLET_READABLE) event.events |= EPOLLIN;
    if (events & MARTLET_WRITABLE) event.events |= EPOLLOUT;
    event.data.u64 = token;
    return epoll_ctl(epoll, operation, fd, &event);
}

int martlet_epoll_add(int epoll, int fd, uint32_t events, uint64_t token) {
    return epoll_set(epoll, EPOLL_CTL_ADD, fd, events, token);
}

int martlet_epoll_change(int epoll, int fd, uint32_t events, uint64_t token) {
    return epoll_set(epoll, EPOLL_CTL_MOD, fd, events, token);
}

int martlet_epoll_remove(int epoll, int fd) {
    struct epoll_event unused = {0};
    return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &unused);
}

int martlet_epoll_ready(int epoll, struct martlet_ready *ready, int count, int milliseconds) {
    struct epoll_event events[64];
    int most = count < 64 ? count : 64;
    int found = epoll_wait(epoll, events, most, milliseconds);
    for (int i = 0; i < found; i++) {
        ready[i].token = events[i].data.u64;
        ready[i].events = (events[i].events & EPOLLIN ? MARTLET_READABLE : 0)
            | (events[i].events & EPOLLOUT ? MARTLET_WRITABLE : 0)
            | (events[i].events & (EPOLLERR | EPOLLHUP) ? MARTLET_ENDED : 0);
    }
    return found;
}
