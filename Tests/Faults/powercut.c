// martlet-powercut MOUNT: shuts an ext4 file system down without flushing its journal, as a power
// cut does (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH). Needs root.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: martlet-powercut MOUNT\n");
        return 2;
    }
    int fd = open(argv[1], O_RDONLY);
    uint32_t no_log_flush = 2;
    if (fd < 0 || ioctl(fd, _IOR('X', 125, uint32_t), &no_log_flush) != 0) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
