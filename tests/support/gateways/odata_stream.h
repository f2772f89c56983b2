#pragma once

#include <fmt/format.h>
#include <prometheus/registry.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "gateways/odata/odata_connector.h"
#include "gateways/outbound/outbound_client.h"
#include "schemas/base/ids.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/fake_clock.h"
#include "tests/support/gateways/fake_odata.h"
#include "tests/support/gateways/recording_sink.h"

namespace sluice::testing {

// The entity "item" of a FakeOData, read by the connector into a RecordingSink, from run to run.
class ODataStream {
 public:
  static OrgId Org() { return *OrgId::Parse("acme"); }

  // Waiting moves the clock.
  class Sink : public gateways::RecordingSink {
   public:
    explicit Sink(FakeClock& clock) : RecordingSink(Org()), clock_(clock) {}
    [[nodiscard]] bool Pause(std::chrono::milliseconds delay) override {
      ++pauses;
      clock_.Advance(delay);
      return RecordingSink::Pause(delay);
    }
    int pauses = 0;

   private:
    FakeClock& clock_;
  };

  explicit ODataStream(const FakeOData::Options& options = {})
      : service(options),
        outbound({.allow_hosts = {"127.0.0.1"}, .allow_private = {"127.0.0.0/8"}, .ca_file = ""},
                 clock),
        registry(std::make_shared<prometheus::Registry>()),
        connector(gateways::MakeODataConnector(outbound, clock, registry)) {
    settings.set_name("crm");
    settings.set_kind("odata");
    settings.set_url(service.url());
    v1::SourceEntity* const entity = settings.add_entities();
    entity->set_name("item");
    entity->set_set("Items");
  }

  v1::SourceEntity& entity() { return *settings.mutable_entities(0); }

  gateways::SourceContext Context() const {
    gateways::SourceContext context;
    context.org = Org();
    context.settings = settings;
    context.stream = "item";
    context.cursor = sink.cursor();
    context.former_cursor = former_cursor;
    for (const auto& [name, text] : secrets) {
      context.secrets.emplace(name, gateways::SecretText(std::string(text)));
    }
    return context;
  }
  // From where the last run's sets have left the stream. "ok" or the error's code.
  std::string Run() {
    last = connector->Run(Context(), sink);
    return last.ok() ? "ok" : ErrorCode(last);
  }

  // What the sink has: "name balance" by key; "-" for null.
  std::map<std::string, std::string> Stored() {
    std::map<std::string, std::string> rows;
    const auto schema = sink.Find(Org(), "item");
    for (const auto& [key, row] : sink.RowsOf("item")) {
      const auto text = [&](const char* name) {
        return schemas::AttributeText(*schema->Find(name), row.bytes).value().value_or("-");
      };
      rows[key] = text("Name") + " " + text("Balance");
    }
    return rows;
  }
  // What the service has.
  std::map<std::string, std::string> Expected() const {
    std::map<std::string, std::string> rows;
    for (const auto& [id, row] : service.rows()) {
      rows[service.KeyOf(id)] = row.name.value_or("-") + " " + row.balance;
    }
    return rows;
  }
  v1::ODataCursor Cursor() const {
    v1::ODataCursor cursor;
    cursor.ParseFromString(sink.cursor());
    return cursor;
  }
  void Fill(int64_t rows) {
    for (int64_t id = 1; id <= rows; ++id) {
      service.Put(id, {.name = fmt::format("n{}", id), .balance = std::to_string(id)});
    }
  }

  FakeClock clock;
  FakeOData service;
  gateways::OutboundClient outbound;
  std::shared_ptr<prometheus::Registry> registry;
  std::unique_ptr<gateways::Connector> connector;
  v1::SourceSettings settings;
  std::map<std::string, std::string> secrets;
  std::string former_cursor;
  Sink sink{clock};
  absl::Status last;
};

}  // namespace sluice::testing
