import Glibc

/// The target that this process fuzzes; set once before the first input.
nonisolated(unsafe) private var selected: any FuzzTarget.Type = FrameTarget.self

/// Something that takes a stranger's bytes.
protocol FuzzTarget {
    static var name: String { get }
    /// Takes one input. What must never happen ends the process: a trap of the product's own, or
    /// `require`.
    static func run(_ input: [UInt8])
    /// Inputs to begin with, by name.
    static var seeds: [(name: String, bytes: [UInt8])] { get }
}

enum FuzzTargets {
    static var all: [any FuzzTarget.Type] { [
        FrameTarget.self, MessageTarget.self, BatchTarget.self, ConsumeTarget.self,
        SegmentTarget.self, IndexTarget.self, MarksTarget.self, ProducersTarget.self,
        TopicMetaTarget.self, JSONTarget.self, ConfigurationTarget.self, CommandLineTarget.self,
        UnitsTarget.self, HTTPTarget.self,
    ] }
}

/// The oracle: ends the process with the reason when something that must hold does not.
func require(
    _ holds: Bool, _ message: @autoclosure () -> String, file: StaticString = #file,
    line: UInt = #line
) {
    guard !holds else { return }
    fatalError("oracle: \(message())", file: file, line: line)
}

@c(LLVMFuzzerTestOneInput)
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    selected.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
    return 0
}

/// Chooses the target; 0 when it is known. `--list` prints the names.
@c(martlet_fuzz_select)
public func fuzzSelect(_ name: UnsafePointer<CChar>) -> CInt {
    let name = String(cString: name)
    if name == "--list" {
        for target in FuzzTargets.all { print(target.name) }
        return 0
    }
    guard let target = FuzzTargets.all.first(where: { $0.name == name }) else {
        print("no target '\(name)'; --list names them")
        return 2
    }
    selected = target
    return 0
}

/// Writes every target's seeds below `folder`, each into a folder of its own.
@c(martlet_fuzz_seeds)
public func fuzzSeeds(_ folder: UnsafePointer<CChar>) -> CInt {
    let folder = String(cString: folder)
    for target in FuzzTargets.all {
        mkdir("\(folder)/\(target.name)", 0o755)
        for seed in target.seeds {
            let path = "\(folder)/\(target.name)/\(seed.name)"
            guard let file = fopen(path, "w") else {
                print("cannot write \(path)")
                return 1
            }
            fwrite(seed.bytes, 1, seed.bytes.count, file)
            fclose(file)
        }
    }
    return 0
}
