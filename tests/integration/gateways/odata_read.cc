// Reads the entity set "Customers" of an OData service through the connector, for
// odata_olingo_test.py:
//
//   odata_read URL [VERSION [MODIFIED]]
//
// Commands are lines of the standard input, each answered with lines and one that is a dot:
//   run     a run from where the last one ended: "ok" or the error's code; seconds; rows/s
//   rows    "KEY NAME BALANCE" of each row
//   counts  operations that changed a row, those that did not, rows that were rejected
//   check   what the service offers
#include <fmt/format.h>
#include <prometheus/registry.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

#include "gateways/odata/odata_connector.h"
#include "gateways/outbound/outbound_client.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/gateways/recording_sink.h"

namespace sluice::gateways {
namespace {

class WaitingSink : public RecordingSink {
 public:
  using RecordingSink::RecordingSink;
  [[nodiscard]] bool Pause(std::chrono::milliseconds delay) override {
    std::this_thread::sleep_for(delay);
    return true;
  }
};

class Reader {
 public:
  Reader(std::string url, std::string version, std::string modified) {
    context_.org = *OrgId::Parse("acme");
    context_.stream = "customer";
    context_.settings.set_name("shop");
    context_.settings.set_kind("odata");
    context_.settings.set_url(std::move(url));
    context_.settings.set_odata_version(std::move(version));
    v1::SourceEntity& entity = *context_.settings.add_entities();
    entity.set_name("customer");
    entity.set_set("Customers");
    entity.set_modified(std::move(modified));
    entity.set_reconcile_s(1);
    sink_.keep_sets = false;
  }

  void Answer(const std::string& command) {
    if (command == "run") {
      Run();
    } else if (command == "rows") {
      PrintRows();
    } else if (command == "counts") {
      fmt::print("{} {} {}\n", sink_.changed, sink_.unchanged, sink_.rejected.size());
    } else if (command == "check") {
      Check();
    }
    fmt::print(".\n");
    std::fflush(stdout);
  }

 private:
  void Run() {
    context_.cursor = sink_.cursor();
    const uint64_t before = sink_.changed + sink_.unchanged;
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status status = connector_->Run(context_, sink_);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const auto rows = static_cast<double>(sink_.changed + sink_.unchanged - before);
    fmt::print("{} {:.2f} {:.0f}\n", status.ok() ? "ok" : ErrorCode(status), took.count(),
               rows / took.count());
    if (!status.ok()) {
      std::cerr << status << '\n';
    }
  }
  void PrintRows() {
    const auto schema = sink_.Find(context_.org, "customer");
    for (const auto& [key, row] : sink_.RowsOf("customer")) {
      const auto text = [&](const char* name) {
        return schemas::AttributeText(*schema->Find(name), row.bytes)->value_or("-");
      };
      fmt::print("{} {} {}\n", key, text("Name"), text("Balance"));
    }
  }
  void Check() {
    const auto offer = connector_->Check(context_, {});
    if (!offer.ok()) {
      fmt::print("{}\n", ErrorCode(offer.status()));
      return;
    }
    for (const SourceOffer::Entity& entity : offer->entities) {
      fmt::print("{} {} attributes {} rows {}\n", entity.definition.name(),
                 entity.definition.attributes_size(), entity.rows.value_or(0),
                 entity.tracks_changes ? "tracked" : "untracked");
    }
  }

  const RealClock clock_;
  OutboundClient outbound_{
      {.allow_hosts = {"127.0.0.1"}, .allow_private = {"127.0.0.1"}, .ca_file = ""}, clock_};
  std::unique_ptr<Connector> connector_ = MakeODataConnector(outbound_, clock_, nullptr);
  SourceContext context_;
  WaitingSink sink_{*OrgId::Parse("acme")};
};

}  // namespace
}  // namespace sluice::gateways

int main(int argc, char** argv) {
  const auto argument = [&](int i) { return argc > i ? std::string(argv[i]) : std::string(); };
  sluice::gateways::Reader reader(argument(1), argument(2), argument(3));
  for (std::string command; std::getline(std::cin, command);) {
    reader.Answer(command);
  }
  return 0;
}
