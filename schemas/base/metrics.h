#pragma once

#include <prometheus/labels.h>

#include <memory>
#include <string>
#include <vector>

namespace prometheus {
template <typename T>
class Family;
class Counter;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

// What parts tell of themselves. A metric of the same name and labels is the same one: whoever adds
// it again gets what is there. A registry owns its metrics; it must outlive their use. Thread-safe.
namespace sluice {

[[nodiscard]] prometheus::Family<prometheus::Counter>& CounterFamily(prometheus::Registry& registry,
                                                                     const std::string& name,
                                                                     const std::string& help);
[[nodiscard]] prometheus::Family<prometheus::Gauge>& GaugeFamily(prometheus::Registry& registry,
                                                                 const std::string& name,
                                                                 const std::string& help);
[[nodiscard]] prometheus::Family<prometheus::Histogram>& HistogramFamily(
    prometheus::Registry& registry, const std::string& name, const std::string& help);

prometheus::Counter& AddCounter(prometheus::Registry& registry, const std::string& name,
                                const std::string& help, const prometheus::Labels& labels = {});
prometheus::Gauge& AddGauge(prometheus::Registry& registry, const std::string& name,
                            const std::string& help, const prometheus::Labels& labels = {});
// `boundaries`: the upper ends of the buckets, ascending.
prometheus::Histogram& AddHistogram(prometheus::Registry& registry, const std::string& name,
                                    const std::string& help, const std::vector<double>& boundaries,
                                    const prometheus::Labels& labels = {});

// `registry`, or where it is null a new one that nobody looks at, so that counting needs no check.
[[nodiscard]] std::shared_ptr<prometheus::Registry> RegistryOrNew(
    std::shared_ptr<prometheus::Registry> registry);

}  // namespace sluice
