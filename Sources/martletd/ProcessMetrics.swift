import MartletConfiguration
import MartletSystem
import MartletTelemetry

/// What a process can say about itself, whatever it serves.
enum ProcessMetrics {
    static func register(in registry: MetricsRegistry) {
        registry.gauge(
            "martlet_build_info", "1; the version is a label.", [("version", Product.version)]
        ) { 1 }
        registry.gauge("martlet_process_resident_bytes", "Physical memory in use.") {
            Double(CurrentProcess.residentBytes ?? 0)
        }
        registry.gauge("martlet_process_open_descriptors", "Open descriptors.") {
            Double(CurrentProcess.openDescriptorCount ?? 0)
        }
        registry.gauge("martlet_process_descriptors_max", "Descriptors that may be open.") {
            do throws(SystemError) {
                return Double(try ProcessLimits.current().descriptors)
            } catch {
                return 0
            }
        }
        registry.gauge("martlet_process_threads", "Threads.") {
            Double(CurrentProcess.threadCount ?? 0)
        }
        registry.counter(
            "martlet_process_cpu_seconds_total", "Processor time used by all threads."
        ) { Double(CurrentProcess.processorNanoseconds) / 1e9 }
    }
}
