// System calls that Glibc's Swift module does not offer. Each returns what the call returns.
#ifndef MARTLET_SYSCALLS_H
#define MARTLET_SYSCALLS_H

#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

ssize_t martlet_preadv2_nowait(int fd, void *buffer, size_t count, int64_t offset);
int martlet_syncfs(int fd);
// -1 when a write-back of the file failed since it was opened or last told; syncs nothing.
int martlet_write_errors(int fd);
int martlet_accept4(int fd, void *address, uint32_t *length, int flags);
int martlet_fcntl_int(int fd, int command, int argument);
int martlet_getrandom(void *buffer, size_t length);
// Columns and rows of the terminal behind fd; 0 when it is none or does not tell.
int martlet_terminal_width(int fd);
int martlet_terminal_height(int fd);
char *const *martlet_environment(void);
// Memory that nobody has yet; NULL when the system refuses it. It goes back with martlet_free.
void *martlet_allocate(size_t alignment, size_t size);
void martlet_free(void *memory);
// Has the allocator give large blocks back to the system when they are freed.
void martlet_give_back_early(void);
// Has the allocator make one heap for all threads, and gives threads made from now on such a stack.
void martlet_save_addresses(size_t stack_bytes);
// The kernel wakes this thread no later than it must from now on, instead of gathering timers for 50 µs.
void martlet_exact_timers(void);
// Waits until that time of the monotonic clock at most; INT64_MAX: for ever.
void martlet_semaphore_wait(sem_t *semaphore, int64_t nanoseconds);
// A counter to wake a poll with: non-blocking, close-on-exec.
int martlet_eventfd(void);
// `poll` with a time-out in nanoseconds; below 0: none. `entries` are struct pollfd.
int martlet_ppoll(void *entries, size_t count, int64_t nanoseconds);

// epoll: its event is a packed struct with a union, which Swift cannot lay out for sure.
struct martlet_ready {
    uint64_t token;
    uint32_t events;
};
enum { MARTLET_READABLE = 1, MARTLET_WRITABLE = 2, MARTLET_ENDED = 4 };
int martlet_epoll_create(void);
// `events` are MARTLET_READABLE and MARTLET_WRITABLE, level-triggered; they replace what was before.
int martlet_epoll_add(int epoll, int fd, uint32_t events, uint64_t token);
int martlet_epoll_change(int epoll, int fd, uint32_t events, uint64_t token);
int martlet_epoll_remove(int epoll, int fd);
// Waits for at most so long, and fills in at most `count` of what is ready; returns how many.
int martlet_epoll_ready(int epoll, struct martlet_ready *ready, int count, int milliseconds);

#endif
