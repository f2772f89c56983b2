#include "gateways/sources/known_source.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

namespace sluice::gateways {
namespace {

using projectors::ScheduledStream;
using std::chrono::seconds;

int64_t RequestOf(const KnownSource& source, const std::string& stream) {
  int64_t newest = -1;
  for (const std::string_view name : {std::string_view(stream), std::string_view()}) {
    const auto found = source.runs.find(std::string(name));
    newest = std::max(newest, found == source.runs.end() ? -1 : found->second.value());
  }
  return newest;
}

}  // namespace

std::vector<KnownSource> KnownSourcesOf(const projectors::OrgEntry& entry) {
  std::vector<KnownSource> sources;
  if (entry.state != projectors::OrgState::kReady) {
    return sources;
  }
  for (const auto& [name, source] : entry.sources) {
    KnownSource known{entry.org,      entry.incarnation, entry.last_control,
                      source.defined, source.runs,       {}};
    if (source.defined->settings().all_entities()) {
      const std::string owner = source.defined->settings().kind() + ":" + name;
      for (const auto& [entity, schema] : entry.model->entities()) {
        if (schema->proto().source() == owner) {
          known.owned.push_back(entity);
        }
      }
    }
    sources.push_back(std::move(known));
  }
  return sources;
}

std::vector<ScheduledStream> StreamsOf(const KnownSource& source, bool by_entity,
                                       const IntervalOptions& options) {
  const v1::SourceSettings& settings = source.defined->settings();
  const seconds interval =
      settings.interval_s() == 0 ? options.standard : seconds(settings.interval_s());
  std::vector<ScheduledStream> streams;
  const auto add = [&](const std::string& name, seconds every) {
    streams.push_back({{source.org, source.incarnation, settings.name(), name},
                       source.defined->epoch(),
                       every,
                       RequestOf(source, name)});
  };
  if (!by_entity) {
    add("", interval);
    return streams;
  }
  if (settings.all_entities()) {
    add("", std::max(interval, options.discovery));
  }
  std::set<std::string_view> named;
  for (const v1::SourceEntity& entity : settings.entities()) {
    named.insert(entity.name());
    if (!entity.disabled()) {
      add(entity.name(), entity.interval_s() == 0 ? interval : seconds(entity.interval_s()));
    }
  }
  for (const std::string& entity : source.owned) {
    if (!named.contains(entity)) {
      add(entity, interval);
    }
  }
  return streams;
}

}  // namespace sluice::gateways
