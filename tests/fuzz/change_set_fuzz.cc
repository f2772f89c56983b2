// Any bytes as a change set: an error or operations that are whole, never more.
#include <cstdlib>
#include <string_view>

#include "eventlog/event.h"
#include "gateways/ingest/change_set_reader.h"
#include "schemas/row_codec.h"

namespace {

using sluice::projectors::OrgModel;

template <typename Message>
std::shared_ptr<const OrgModel> With(const std::shared_ptr<const OrgModel>& model,
                                     const Message& message) {
  sluice::eventlog::Event event;
  event.type = Message::descriptor()->full_name();
  event.value = message.SerializeAsString();
  return *model->Apply(event);
}

std::shared_ptr<const OrgModel> Model() {
  sluice::v1::OrgOpened opened;
  opened.set_incarnation(1);
  sluice::v1::EntityDefined defined;
  *defined.mutable_schema() = *sluice::schemas::EvolveSchema(
      nullptr,
      *sluice::schemas::ParseEntityDefinition(
          "a", R"({"primary_key":"k","attributes":[{"name":"k","type":"string"},)"
               R"({"name":"i","type":"int64"},{"name":"d","type":"decimal"}]})"),
      sluice::schemas::EntityId(1));
  return With(With(OrgModel::Empty(), opened), defined);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const OrgModel> model = Model();
  static sluice::gateways::ChangeSetReader reader({.line_bytes_max = 1 << 16, .ops_max = 8});
  const auto read =
      reader.Read(*model, std::string_view(reinterpret_cast<const char*>(data), size));
  if (!read.status.ok()) {
    return 0;
  }
  for (const auto& op : read.set.ops()) {
    const auto schema = model->FindEntity(sluice::schemas::EntityId(op.entity_id()));
    const bool row_good = op.kind() == sluice::v1::Operation::KIND_DELETE ||
                          sluice::schemas::ValidateRow(*schema, op.row()).ok();
    if (!row_good || !sluice::schemas::ValidateKey(op.key()).ok()) {
      std::abort();
    }
  }
  return 0;
}
