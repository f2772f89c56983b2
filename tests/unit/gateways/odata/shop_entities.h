#pragma once

#include <memory>
#include <string>
#include <utility>

#include "gateways/odata/entity_mapper.h"
#include "schemas/entity_schema.h"

// Entities of a small shop, as the mapper makes them: one with a column of every type, one with a
// key of three parts.
namespace sluice::testing {

inline gateways::Csdl ShopCsdl() {
  using gateways::CsdlProperty;
  gateways::Csdl csdl;
  const auto property = [](std::string name, std::string type) {
    return CsdlProperty{std::move(name), std::move(type), false, std::nullopt};
  };
  csdl.enums["shop.Color"] = {false, {{"Red", 1}, {"Green", 2}}};
  csdl.structures["shop.Address"].properties = {property("Street", "Edm.String"),
                                                property("Zip", "Edm.Int32")};
  gateways::CsdlStructure& item = csdl.structures["shop.Item"];
  item.is_entity = true;
  item.key = {{"ID", ""}};
  item.properties = {property("ID", "Edm.Int64"),          property("Name", "Edm.String"),
                     property("Guid", "Edm.Guid"),         property("Bytes", "Edm.Binary"),
                     property("Flag", "Edm.Boolean"),      property("Small", "Edm.Byte"),
                     property("Ratio", "Edm.Double"),      property("Price", "Edm.Decimal"),
                     property("Day", "Edm.Date"),          property("Time", "Edm.TimeOfDay"),
                     property("At", "Edm.DateTimeOffset"), property("For", "Edm.Duration"),
                     property("Color", "shop.Color"),      property("Address", "shop.Address")};
  gateways::CsdlStructure& line = csdl.structures["shop.Line"];
  line.is_entity = true;
  line.key = {{"Order", ""}, {"Product", ""}, {"At/Value", "When"}};
  csdl.structures["shop.Stamp"].properties = {property("Value", "Edm.Date")};
  line.properties = {property("Product", "Edm.String"), property("Order", "Edm.Int32"),
                     property("At", "shop.Stamp"), property("Count", "Edm.Int32")};
  gateways::CsdlStructure& named = csdl.structures["shop.Named"];
  named.is_entity = true;
  named.key = {{"id", ""}};
  named.properties = {property("id", "Edm.String"), property("note", "Edm.String")};
  gateways::CsdlStructure& contact = csdl.structures["shop.Contact"];
  contact.is_entity = true;
  contact.key = {{"contactid", ""}};
  contact.properties = {property("contactid", "Edm.Guid"), property("id", "Edm.Int32")};
  csdl.sets = {{"Items", "shop.Item", {}},
               {"Lines", "shop.Line", {}},
               {"Named", "shop.Named", {}},
               {"contacts", "shop.Contact", {}}};
  return csdl;
}

inline gateways::MappedEntity ShopEntity(const std::string& set) {
  const gateways::WantedEntity wanted{set, set, {}};
  return gateways::MapEntities(ShopCsdl(), {&wanted, 1}).entities.at(0);
}

inline std::shared_ptr<const schemas::EntitySchema> SchemaOf(const gateways::MappedEntity& entity) {
  return *schemas::EntitySchema::FromProto(
      *schemas::EvolveSchema(nullptr, entity.definition, schemas::EntityId(1)));
}

}  // namespace sluice::testing
