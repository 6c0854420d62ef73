#include "CMartletFuzz.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern int LLVMFuzzerRunDriver(int *, char ***, int (*)(const uint8_t *, size_t));
extern int LLVMFuzzerTestOneInput(const uint8_t *, size_t);
extern int martlet_fuzz_select(const char *);
extern int martlet_fuzz_seeds(const char *);

// MartletFuzz TARGET [libFuzzer's arguments], MartletFuzz --list, MartletFuzz --seeds FOLDER
int MartletFuzz_main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) return martlet_fuzz_seeds(argv[2]);
    int refused = martlet_fuzz_select(argc > 1 ? argv[1] : "");
    if (refused != 0 || strcmp(argv[1], "--list") == 0) return refused;
    argv[1] = argv[0];
    argv++;
    argc--;
    return LLVMFuzzerRunDriver(&argc, &argv, LLVMFuzzerTestOneInput);
}
