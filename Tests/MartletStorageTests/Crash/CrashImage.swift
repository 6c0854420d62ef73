import MartletTestSupport

/// What a crash leaves of a disk.
enum CrashImage {
    private static let sectorBytes = 512

    enum Kind: CaseIterable, Sendable {
        /// `kill -9`: the page cache survives; what is not synced still is not.
        case kill
        /// Power cut: nothing that was not synced is there.
        case losesAll
        /// Power cut: files keep what was written, directories may lose changes.
        case keepsContent
        /// Power cut: directories keep what was changed, files lose some of it.
        case keepsNames
        /// Power cut: any sector of any file in any state it ever had, directories as by a journal.
        case tears
        /// As `tears`, and directories lose any changes, in any order.
        case shuffles
    }

    static func make(_ disk: DiskState, _ kind: Kind, _ random: inout SeededRandom) -> DiskState {
        var image = disk
        if kind == .kill {
            for id in image.nodes.keys { image.nodes[id]?.hasLostPages = false }
            return image
        }
        persistNames(&image, kind, &random)
        for (id, node) in disk.nodes.sorted(by: { $0.key < $1.key }) {
            var node = node
            node.durable = content(node, kind, &random)
            node.cached = node.durable
            node.pending = []
            node.hasLostPages = false
            node.durableEntries = image.nodes[id]?.durableEntries ?? [:]
            node.entries = node.durableEntries
            image.nodes[id] = node
        }
        return image
    }

    private static func persistNames(
        _ image: inout DiskState, _ kind: Kind, _ random: inout SeededRandom
    ) {
        let pending = image.pendingEntries
        image.pendingEntries = []
        let prefix = random.below(pending.count + 1)
        for (index, entry) in pending.enumerated() {
            let survives =
                switch kind {
                case .kill, .keepsNames: true
                case .losesAll: false
                case .keepsContent, .tears: index < prefix
                case .shuffles: random.chance(1, in: 2)
                }
            guard survives else { continue }
            DiskState.apply(
                entry.change,
                to: &image.nodes[entry.directory, default: DiskState.Node()].durableEntries)
        }
    }

    private static func content(
        _ node: DiskState.Node, _ kind: Kind, _ random: inout SeededRandom
    ) -> [UInt8] {
        guard !node.pending.isEmpty else { return node.durable }
        switch kind {
        case .losesAll: return node.durable
        case .keepsContent, .kill:
            var content = node.durable
            for change in node.pending { DiskState.apply(change, to: &content) }
            return content
        case .keepsNames, .tears, .shuffles:
            return torn(node, &random)
        }
    }

    /// Each sector is as it was after some of the changes, and so is the size, each for itself.
    private static func torn(_ node: DiskState.Node, _ random: inout SeededRandom) -> [UInt8] {
        var versions = [node.durable]
        for change in node.pending {
            var next = versions[versions.count - 1]
            DiskState.apply(change, to: &next)
            versions.append(next)
        }
        let newest = versions.count - 1
        // Sometimes most of it is there, sometimes little, sometimes all but one sector.
        let bias = random.below(4)
        func pick() -> Int {
            switch bias {
            case 0: random.chance(9, in: 10) ? newest : random.below(versions.count)
            case 1: random.chance(9, in: 10) ? 0 : random.below(versions.count)
            default: random.below(versions.count)
            }
        }
        let size = versions[pick()].count
        var content = [UInt8](repeating: 0, count: size)
        var start = 0
        while start < size {
            let end = min(size, start + sectorBytes)
            let version = versions[pick()]
            let available = min(end, version.count)
            if start < available {
                content.replaceSubrange(start..<available, with: version[start..<available])
            }
            start = end
        }
        return content
    }
}
