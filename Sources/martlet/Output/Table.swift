/// Columns of text without lines or colour, two spaces apart.
struct Table {
    enum Alignment { case left, right }

    struct Column {
        let title: String
        let alignment: Alignment

        static func left(_ title: String) -> Column { Column(title: title, alignment: .left) }
        static func right(_ title: String) -> Column { Column(title: title, alignment: .right) }
    }

    private(set) var columns: [Column]
    private(set) var rows: [[String]] = []

    init(_ columns: [Column]) {
        self.columns = columns
    }

    /// Adds a row. Cells are made safe for a terminal, and an empty one becomes `-`.
    mutating func add(_ cells: [String]) {
        rows.append(cells.map { $0.isEmpty ? "-" : Shown.text($0) })
    }

    func text(hasHeader: Bool = true) -> String {
        let lines = hasHeader ? [columns.map(\.title)] + rows : rows
        let widths = widths(lines)
        return lines.map { line($0, widths) + "\n" }.joined()
    }

    /// Without some of the columns with these titles, as far as it has to be for it to fit: first those
    /// that say nothing in any row, then in this order.
    func narrowed(to width: Int, without titles: [String]) -> Table {
        var table = self
        for title in titles.filter({ !says($0) }) + titles where table.width > width {
            table.drop(title)
        }
        return table
    }

    private var width: Int {
        widths([columns.map(\.title)] + rows).reduce(-2) { $0 + $1 + 2 }
    }

    private func widths(_ lines: [[String]]) -> [Int] {
        columns.indices.map { index in
            lines.map { index < $0.count ? Shown.width($0[index]) : 0 }.max() ?? 0
        }
    }

    private func says(_ title: String) -> Bool {
        guard let index = columns.firstIndex(where: { $0.title == title }) else { return false }
        return rows.contains { index < $0.count && $0[index] != "-" && $0[index] != "0" }
    }

    private mutating func drop(_ title: String) {
        guard let index = columns.firstIndex(where: { $0.title == title }) else { return }
        columns.remove(at: index)
        for row in rows.indices where index < rows[row].count { rows[row].remove(at: index) }
    }

    private func line(_ cells: [String], _ widths: [Int]) -> String {
        var text = ""
        for (index, cell) in cells.enumerated() where index < columns.count {
            if index > 0 { text += "  " }
            let padding = String(repeating: " ", count: max(0, widths[index] - Shown.width(cell)))
            switch columns[index].alignment {
            case .right: text += padding + cell
            // Nothing after the last cell: trailing spaces only get in the way.
            case .left: text += index == columns.count - 1 ? cell : cell + padding
            }
        }
        return text
    }
}

/// Names and values below each other, for one thing.
struct Facts {
    private var rows: [(String, String)] = []

    init() {}

    mutating func add(_ name: String, _ value: String) {
        rows.append((name, Shown.text(value)))
    }

    var text: String {
        let width = rows.map { $0.0.count }.max() ?? 0
        return rows.map { name, value in
            let padding = String(repeating: " ", count: width - name.count)
            return "\(name):\(padding)  \(value)\n"
        }.joined()
    }
}
