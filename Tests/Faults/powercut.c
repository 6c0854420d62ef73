// martlet-powercut MOUNT PID: takes the power from an ext4 file system and from the process on it.
//
// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH drops everything that was not synced. With the
// power gone nothing computes any more either, so the process is stopped first: it must not send a
// byte after the cut. That matters, because Linux may return 0 from an fdatasync whose transaction
// the shutdown has aborted (jbd2_complete_transaction finds it neither running nor committing).
// System calls that are under way, syncs above all, go on inside the kernel while the cut falls.
// Afterwards the process is killed. Needs root.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

// Whether every thread is stopped, or inside a system call that it cannot leave to the program.
static int stands_still(const char *pid) {
    char path[512], line[512];
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) return 1;
    int still = 1;
    struct dirent *task;
    while (still && (task = readdir(tasks)) != NULL) {
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%s/task/%s/stat", pid, task->d_name);
        FILE *stat = fopen(path, "r");
        if (stat == NULL) continue;
        char *name_end = fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;
        fclose(stat);
        still = name_end != NULL && strchr("TtDZX", name_end[2]) != NULL;
    }
    closedir(tasks);
    return still;
}

int main(int argc, char **argv) {
    pid_t pid = argc == 3 ? (pid_t)strtol(argv[2], NULL, 10) : 0;
    if (pid <= 1) {
        fprintf(stderr, "usage: martlet-powercut MOUNT PID\n");
        return 2;
    }
    int fd = open(argv[1], O_RDONLY);
    uint32_t no_log_flush = 2;
    if (fd < 0 || kill(pid, SIGSTOP) != 0) {
        perror(argv[1]);
        return 1;
    }
    while (!stands_still(argv[2])) {
    }
    if (ioctl(fd, _IOR('X', 125, uint32_t), &no_log_flush) != 0) {
        perror(argv[1]);
        return 1;
    }
    return kill(pid, SIGKILL) == 0 ? 0 : 1;
}
