#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateways/events/business_event.h"
#include "gateways/events/cloud_event.h"
#include "schemas/base/text_codec.h"

// Events as strangers send them: the first line says how ("http", "kafka"), headers follow, one a
// line as "name: value", and behind an empty line the body. Nothing may crash, and what is accepted
// keeps to its limits and has one meaning.

namespace {

using namespace sluice::gateways;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

std::string_view TakeLine(std::string_view& rest) {
  const std::string_view line = rest.substr(0, rest.find('\n'));
  rest.remove_prefix(std::min(rest.size(), line.size() + 1));
  return line;
}

void CheckEvent(const CloudEvent& event) {
  for (const std::string* const text : {&event.id, &event.source, &event.type}) {
    Require(!text->empty() && text->size() <= kEventAttributeBytesMax &&
            sluice::IsValidUtf8(*text) && text->find('\0') == std::string::npos);
  }
  Require(event.data.size() <= kEventBytesMax);
  const auto parsed = ParseBusinessEvent(event);
  if (!parsed.ok()) {
    return;
  }
  Require(!parsed->org.value().empty() && !parsed->steps.empty() &&
          parsed->steps.size() <= kEventStepsMax);
  const std::string id = RequestIdOf(*parsed, 0, 0);
  Require(id.size() == sluice::kUuidTextSize && id[14] == '8');
  Require(id != RequestIdOf(*parsed, 1, 0) && id != RequestIdOf(*parsed, 0, 1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string_view kind = TakeLine(rest);
  std::vector<std::pair<std::string, std::string>> headers;
  while (!rest.empty()) {
    const std::string_view line = TakeLine(rest);
    if (line.empty()) {
      break;
    }
    const size_t colon = std::min(line.find(": "), line.size());
    headers.emplace_back(line.substr(0, colon), line.substr(std::min(colon + 2, line.size())));
  }
  if (kind == "http") {
    HttpHead head;
    head.headers = std::move(headers);
    const auto read = ReadHttpEvents(head, rest);
    if (read.ok()) {
      Require(read->batch || read->events.size() == 1);
      Require(read->events.size() <= kEventsPerBatchMax);
      for (const auto& event : read->events) {
        if (event.ok()) {
          CheckEvent(*event);
        }
      }
    }
  } else {
    sluice::eventlog::Record record;
    record.value = std::string(rest);
    record.headers = std::move(headers);
    if (const auto event = ReadKafkaEvent(record); event.ok()) {
      CheckEvent(*event);
    }
  }
  return 0;
}
