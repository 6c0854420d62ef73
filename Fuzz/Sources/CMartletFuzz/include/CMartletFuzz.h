// SwiftPM calls the entry point of an executable `<target>_main`, and a Swift target that is built
// for libFuzzer has none: this is it. See Driver.swift.
int MartletFuzz_main(int argc, char **argv);
