// Needs: npm install @grpc/grpc-js @grpc/proto-loader. Typed in the folder of the clone.
const grpc = require('@grpc/grpc-js');
const files = require('@grpc/proto-loader').loadSync('herd/v1/locations.proto', {
  includeDirs: ['proto'],
  defaults: true,
});
const { Locations } = grpc.loadPackageDefinition(files).herd.v1;
const plain = grpc.credentials.createInsecure();
const [bailey, campbell] = [50051, 50053].map((port) => new Locations(`127.0.0.1:${port}`, plain));
// Answered when both of Bailey's friends have it as well, of whom Campbell is one.
const emu = { clientId: 'emu', position: { latitude: -33.87, longitude: 151.21 }, minPeers: 2 };
bailey.Report(emu, (error) => {
  if (error) throw error;
  campbell.Near({ clientId: 'emu', radiusMeters: 1000 }, (error, answer) => {
    if (error) throw error;
    console.log('near emu:', answer.neighbors.map((near) => near.location.clientId).join(', ') || 'nobody else');
  });
});
